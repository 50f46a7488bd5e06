# Who is to be blocked may get there later where each client has a thread, so that is waited for, as 7.2 does.
s/^\( *\)\$rd XREAD BLOCK 0 STREAMS mystream "\$"$/&\n\1wait_for_blocked_client/
