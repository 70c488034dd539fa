"""What `rnnfast forecast` reads and shows: tables, their time, the rows made regular and whole, a plot."""
