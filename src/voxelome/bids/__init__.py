"""The dataset: what lies in it, what each visit gets, and how files are named."""
