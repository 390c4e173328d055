"""How often something happens, lately."""


class Rate:
    """Counts events in whole seconds of a clock; the last few are the rate."""

    WINDOW_S = 5

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._first: int | None = None

    def add(self, now_s: float) -> None:
        """Count an event; time does not go back."""
        second = int(now_s)
        self._first = second if self._first is None else self._first
        self._counts[second] = self._counts.get(second, 0) + 1
        if len(self._counts) > self.WINDOW_S + 1:
            self._counts = {then: count for then, count in self._counts.items() if then >= second - self.WINDOW_S}

    def per_second(self, now_s: float) -> float | None:
        """Give the mean of the last whole seconds; None in the first one."""
        if self._first is None:
            return None
        counts, second = self._counts, int(now_s)  # `add` replaces it in another thread
        begin = max(second - self.WINDOW_S, self._first + 1)
        whole = [counts.get(then, 0) for then in range(begin, second)]
        return sum(whole) / len(whole) if whole else None
