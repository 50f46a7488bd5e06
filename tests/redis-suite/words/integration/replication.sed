# Until there are functions, those that tests load and call beside what they are about are left out.
/# Set a function value/,/^ *}$/d
/fcall test 0/d
# Who is to be blocked may get there later where each client has a thread, so that is waited for, as 7.2 does.
s/^\( *\)\$rd \(brpoplpush\|blmove\) a b .*$/&\n\1wait_for_blocked_client/
