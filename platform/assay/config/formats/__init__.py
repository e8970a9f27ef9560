"""Where a language's own way to write numbers would harm: Django reads these before its own formats (`FORMAT_MODULE_PATH`)."""
