"""As backups were made before there was `assay backup`. Jobs that were written then go on working."""

from assay.config.cli import backup

if __name__ == "__main__":
    backup()
