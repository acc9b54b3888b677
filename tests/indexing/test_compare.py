"""Tree comparison: applying the changes to what is stored gives the tree."""

from hypothesis import given
from hypothesis import strategies as st

from worker.indexing.compare import Changes, Version, compare

_versions = st.builds(
    Version, st.sampled_from([b"a" * 20, b"b" * 20]), st.sampled_from([0o100644, 0o100755]), st.sampled_from([0, 1])
)
_trees = st.dictionaries(st.sampled_from(["a", "b", "c/d", "c/e", "f", "g"]), _versions)


@given(_trees, _trees)
def test_changes_turn_the_stored_into_the_tree(tree: dict[str, Version], stored: dict[str, Version]) -> None:
    """Whatever the history, stored and changes together are the tree, and no unchanged path is written."""
    changes = compare(tree, stored)
    result = {path: version for path, version in stored.items() if path not in changes.remove} | changes.write
    assert result == tree
    assert all(stored.get(path) != version for path, version in changes.write.items())
    assert set(changes.remove) <= set(stored)
    assert changes.unchanged == sum(stored.get(path) == version for path, version in tree.items())


def test_same_tree_changes_nothing() -> None:
    """A repeated push writes nothing."""
    tree = {"a": Version(b"a" * 20, 0o100644, 1)}
    assert compare(tree, dict(tree)) == Changes({}, [], 1)


def test_rename_to_another_language() -> None:
    """The same bytes under a name of another language are written again: they parse differently."""
    changes = compare({"a.ts": Version(b"a" * 20, 0o100644, 3)}, {"a.js": Version(b"a" * 20, 0o100644, 2)})
    assert (list(changes.write), changes.remove) == (["a.ts"], ["a.js"])
