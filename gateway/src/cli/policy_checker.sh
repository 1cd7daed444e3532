#!/bin/sh
# Plays `check-bundle` in tests: finds nothing.
cat >/dev/null
echo '{"report":{"revision":"r@1","digest":"d","entry_packages":[],"rules":1,"tests":0,"warnings":[]}}'
