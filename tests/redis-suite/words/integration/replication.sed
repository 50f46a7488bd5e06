# Until there are functions, those that tests load and call beside what they are about are left out.
/# Set a function value/,/^ *}$/d
/fcall test 0/d
