# Until there are functions, those that some tests call, which are not run, are not loaded.
/\$master FUNCTION load replace/,/^        }$/d
# Nor are scripts carried out that some tests run beside the commands they are about.
/\$master eval "\(return \)\{0,1\}redis.call('set'/d
