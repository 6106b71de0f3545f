"""Workers die, reload, change their number and certificates, and fill the disk, under clients."""
