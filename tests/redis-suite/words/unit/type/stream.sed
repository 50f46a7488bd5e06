# Who is to be blocked may get there later where each client has a thread, so that is waited for, as 7.2 does.
/ 0-0 /!s/^\( *\)\$rd XREAD BLOCK 20000 STREAMS .*[0-9}] \(\$ \)*\$$/&\n\1wait_for_blocked_client/
