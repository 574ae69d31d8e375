"""The command, the views and the documents, as their users meet them: through real processes."""
