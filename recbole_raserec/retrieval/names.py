"""The numbers of users' and items' tokens. Numbers never change, and new tokens get the next ones."""

from __future__ import annotations

from collections.abc import Iterable

PADDING = "[PAD]"  # RecBole's token of number 0, which no user and no item has


class Names:
    """Tokens by number and numbers by token.

    Attributes
    ----------
    tokens : [V] token of each number.
    """

    def __init__(self, tokens: Iterable[str] = (PADDING,)) -> None:
        self.tokens = list(tokens)
        self._numbers = {token: number for number, token in enumerate(self.tokens)}
        self._numbers.pop(PADDING, None)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._numbers

    def find(self, token: str) -> int | None:
        """The token's number, or None."""
        return self._numbers.get(token)

    def add(self, token: str) -> int:
        """The token's number; a new token gets the next one."""
        number = self._numbers.setdefault(token, len(self.tokens))
        if number == len(self.tokens):
            self.tokens.append(token)
        return number
