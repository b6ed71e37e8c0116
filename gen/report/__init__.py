"""Reports: what runs left in their folders, as one page that needs nothing outside itself."""
