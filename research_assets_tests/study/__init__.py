"""Study files: what is accepted, what is refused and how it is said."""
