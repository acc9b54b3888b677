"""The payloads of the built-in job types. Unknown fields are kept out of the way, wrong ones are named."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
BranchRef = Annotated[str, Field(pattern=r"^refs/heads/.+")]


class Hints(BaseModel):
    """Paths that pushes named; hints only, git decides."""

    model_config = ConfigDict(extra="ignore")

    added: list[str] = []
    modified: list[str] = []
    removed: list[str] = []


class IndexPayload(BaseModel):
    """What full_index and incremental_update are about. Without a ref: the tracked branch."""

    model_config = ConfigDict(extra="ignore")

    ref: BranchRef | None = None
    before: Commit | None = None
    after: Commit | None = None
    forced: bool = False
    deleted: bool = False  # the push deleted the branch; the server decides whether it is gone
    hints: Hints | Literal["unknown"] | None = None
    rebuild: bool = False
    befores: list[Commit] = []  # where the pushes that have joined came from
    asked_at: AwareDatetime | None = None  # of the newest push that has joined

    @property
    def branch(self) -> str | None:
        """The branch's short name."""
        return self.ref.removeprefix("refs/heads/") if self.ref else None


class ValidatePayload(BaseModel):
    """validate needs nothing but its repository."""

    model_config = ConfigDict(extra="ignore")

    ref: BranchRef | None = None


class ReconcilePayload(BaseModel):
    """reconcile needs nothing but its repository."""

    model_config = ConfigDict(extra="ignore")
