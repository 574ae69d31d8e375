"""Which constants an expression compares an element with: the values at which its answer may change."""

from collections.abc import Iterator

from rating.expressions.nodes import Between, Compare, Constant, Element, Node, OneOf, walk


def compared(root: Node) -> Iterator[tuple[str, int | str]]:
    """Each element that is compared with a constant, and the constant: micros or text."""
    for node in walk(root):
        match node:
            case Compare(_, Element(name), Constant(value)) | Compare(_, Constant(value), Element(name)):
                values: tuple[object, ...] = (value,)
            case Between(Element(name), Constant(low), Constant(high)):
                values = (low, high)
            case OneOf(Element(name), members):
                values = members
            case _:
                continue
        yield from ((name, value) for value in values if isinstance(value, int | str) and not isinstance(value, bool))
