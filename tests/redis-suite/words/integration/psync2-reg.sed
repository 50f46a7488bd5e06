# How many tests there are hangs on when links are killed, which is drawn by lot; with the same lots in as many rounds
# there are always as many.
s/^    set cycle_start_time \[clock milliseconds\]$/    expr {srand(3899)}; set rounds 0/
s/^        set elapsed \[expr .*$/        incr rounds/
s/^        if {\$elapsed > \$duration\*1000} break$/        if {$rounds > 200} break/
