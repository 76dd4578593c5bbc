"""What is read from films, in the forms of other systems: COCO, DICOM, NIfTI, FHIR."""
