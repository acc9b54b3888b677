"""The name inside a declarator of C and C++: `*(*f(void))(int)` has f four levels down.

Found by going down, because a query with a pattern for each shape takes ten times as long to compile, and ends at the
shapes that somebody thought of.
"""

from tree_sitter import Node

_NAMES = frozenset({"identifier", "field_identifier", "destructor_name", "operator_name", "template_function"})


def function_name(declarator: Node) -> Node | None:
    """The name of the function that a definition's declarator declares; None where it declares none."""
    is_function = False
    node: Node | None = declarator
    while node is not None:
        kind = node.type
        if kind in _NAMES:
            return node if is_function else None
        if kind in ("qualified_identifier", "operator_cast"):
            return node if is_function or _is_cast(node) else None
        is_function = is_function or kind == "function_declarator"
        # `&f`, `(f)` and `(__cdecl f)` name no field; `f [[noreturn]]` has the name first.
        last = 0 if kind == "attributed_declarator" else node.named_child_count - 1
        node = node.child_by_field_name("declarator") or node.named_child(last)
    return None


def _is_cast(node: Node) -> bool:
    """`operator bool` and `A::B::operator bool` have no function's declarator around them."""
    inner: Node | None = node
    while inner is not None and inner.type == "qualified_identifier":
        inner = inner.child_by_field_name("name")
    return inner is not None and inner.type == "operator_cast"
