"""Entries whose sample differs for a reason that is known, by check."""

KNOWN: dict[str, set[str]] = {
    "errors": set(),
    "methods": set(),
    "out": set(),
    "in_place": set(),
    "second": set(),
    "layouts": set(),
    "dtypes": set(),
}
