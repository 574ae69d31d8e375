"""A table of the report, for the terminal and for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Sheet:
    """A table: the first column is text, the others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def on_terminal(self) -> Table:
        """The table with colours for what was reached and missed."""
        table = Table(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        colors = {"reached": "[green]✓ reached[/]", "missed": "[red]✗ missed[/]"}
        for row in self.rows:
            table.add_row(*(colors.get(cell, cell) for cell in row))
        return table

    def on_page(self) -> str:
        """The table in Markdown."""
        rule = "|---|" + "---:|" * (len(self.columns) - 1)
        lines = ["| " + " | ".join(row) + " |" for row in (self.columns, *self.rows)]
        return "\n".join([f"## {self.title}", "", lines[0], rule, *lines[1:]])
