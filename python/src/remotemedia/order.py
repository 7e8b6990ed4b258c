"""The order of one producer's frames, as one reader sees it; knows nothing of shared memory."""

from __future__ import annotations

from typing import Optional

from .meta import KEYFRAME


class Order:
    """Tells which frames can be given, and how many are missing before each."""

    def __init__(self, when_full: str) -> None:
        self._until_keyframe = when_full == "until_keyframe"
        self._seen: Optional[int] = None
        self._given: Optional[int] = None
        # A gap before this, or nothing given yet: only a keyframe can follow.
        self._broken = self._until_keyframe
        self.wanted = False
        """Frames are dropped until a keyframe comes."""

    def seen(self, sequence: int) -> Optional[int]:
        """A frame came: how many before it never did, or ``None`` when it stands behind one that came later."""
        if self._seen is None:
            # What was published before this reader came was not for it.
            overflowed = 0
        elif sequence > self._seen:
            overflowed = sequence - self._seen - 1
        else:
            return None
        self._seen = sequence
        if overflowed:
            self.lost_something()
        return overflowed

    def malformed(self, sequence: int) -> None:
        """A frame came whose header is not to be believed, except that it is not missing when it says the expected."""
        if self._seen is not None and sequence == self._seen + 1:
            self._seen = sequence
        self.lost_something()

    def lost_something(self) -> None:
        """Where the contract says so, a keyframe comes next."""
        self._broken = self._broken or self._until_keyframe

    def give(self, sequence: int, flags: int) -> Optional[int]:
        """How many frames are missing before this one, or ``None`` when it cannot be given."""
        if self._broken:
            if not flags & KEYFRAME:
                self.wanted = True
                return None
            self._broken = self.wanted = False
        missed = 0 if self._given is None else max(sequence - self._given - 1, 0)
        self._given = sequence
        return missed
