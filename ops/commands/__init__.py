"""One module per command of `ratemill`: reads its arguments, calls what does the work, shows the result."""
