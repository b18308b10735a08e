"""`ftmirror report`: what training cost, as one page with pictures."""
