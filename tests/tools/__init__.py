"""What shows and breaks connections on purpose: tap, trace, recorder, inspector, faults, h2bin."""
