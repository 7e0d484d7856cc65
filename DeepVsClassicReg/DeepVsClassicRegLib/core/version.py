"""The one version number of library, command line and extension."""

VERSION = "0.1.0"
