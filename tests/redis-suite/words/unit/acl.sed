# What Redis 7.2 words differently in unit/acl: "a channel" where 7.0 has "one of the channels", the flag
# sanitize-payload of every user, and command rules that are listed as they were given.
s/NOPERM\*channels\*/NOPERM*channel*/
s/user hpuser on nopass resetchannels/user hpuser on nopass sanitize-payload resetchannels/
/Validate the new commands has got engulfed to +@all/,/assert_equal/s/{+@all}/{+@all +client|id}/
