"""What can go wrong with receipts."""


class ReceiptError(ValueError):
    """A receipt that cannot be read or written; one line that names the file and the cure."""


class UnverifiableError(ReceiptError):
    """A receipt that is sound, but whose model or data is not here; one line with the cure."""
