#!/bin/sh
psql -U app -d app -c 'GRANT SELECT ON notes TO PUBLIC'
