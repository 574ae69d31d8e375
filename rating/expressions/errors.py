"""What is wrong with an expression, and where in its text."""


class ExpressionError(ValueError):
    """An expression that cannot be used: `message` is one clear sentence, `column` counts characters from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"{message} (at character {column})")
        self.message = message
        self.column = column
