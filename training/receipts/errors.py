"""What can go wrong with receipts."""

from anatomy_vlm.processing.data_files import one_line


class ReceiptError(ValueError):
    """A receipt that cannot be read or written; one line that names the file and the cure."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(message))


class UnverifiableError(ReceiptError):
    """A receipt that is sound, but whose model or data is not here; one line with the cure."""
