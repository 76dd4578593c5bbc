"""What the files of an exported folder are called."""

VISION = "model"
TEXT = "text_model"
NOTES = "export.json"
