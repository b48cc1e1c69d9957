"""The processes of one machine: what runs, under which supervisor, and how one knows that it is ready."""
