"""The terminal UI: screens over the core. It is handed a Workbench and makes nothing itself."""
