"""`pymem explain`."""

def command() -> None:
    """x"""
