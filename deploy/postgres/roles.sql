-- Three roles, so that a fault of the service can't do more than the service itself:
--
--   drydock         made the cluster and is its superuser. In the stack, only programs inside db's
--                   container can log in as it.
--   drydock_owner   owns the database and everything in it. Migrations run as this role.
--   drydock_app     is the service. It reads and writes rows, and changes neither tables nor roles.
--
-- psql runs this file as the superuser, before each migration: compose.yaml (roles), deploy/roles and
-- dev/postgres.py. It changes only what is not yet so. psql reads the passwords of the two roles from
-- the environment, because other users of the machine can read its arguments.
\set ON_ERROR_STOP on
\getenv app_password DATABASE_PASSWORD
\getenv owner_password DATABASE_OWNER_PASSWORD

BEGIN;
SET LOCAL search_path = pg_catalog;
-- The lock of migrations/env.py: a migration and this file don't run at the same time.
DO 'BEGIN PERFORM pg_advisory_xact_lock(7232371); END';
-- Queries of the service queue behind a wait for a table's lock. To fail and be run again is better.
SET LOCAL lock_timeout = '3s';

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['drydock_owner', 'drydock_app'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      EXECUTE format('CREATE ROLE %I LOGIN', name);
      RAISE NOTICE 'made the role %', name;
    END IF;
  END LOOP;
  -- The administrator of a managed Postgres is no superuser, and needs this to give objects away.
  IF NOT pg_has_role('drydock_owner', 'SET') THEN
    EXECUTE format('GRANT drydock_owner TO %I', current_user);
  END IF;
END $$;
ALTER ROLE drydock_owner PASSWORD :'owner_password';
ALTER ROLE drydock_app PASSWORD :'app_password';

SELECT format('ALTER DATABASE %I OWNER TO drydock_owner', current_database()),
  format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database())
\gexec
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- The owner gets what the running role has made: before there were roles, in a restore, by hand.
-- REASSIGN OWNED refuses to do this for a superuser that made the cluster.
DO $$
DECLARE
  found record;
BEGIN
  FOR found IN
    WITH own AS (
      SELECT oid, nspname FROM pg_namespace
      WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    ), member AS (
      SELECT classid, objid FROM pg_depend WHERE deptype = 'e' -- belongs to an extension
    )
    SELECT 'SCHEMA' AS kind, oid::regnamespace::text AS name FROM pg_namespace
      WHERE oid IN (SELECT oid FROM own) AND nspowner = current_user::regrole
      AND ('pg_namespace'::regclass, oid) NOT IN (TABLE member)
    UNION ALL
    -- ALTER TABLE takes views and sequences too. A column's sequence changes with its table.
    SELECT 'TABLE', c.oid::regclass::text FROM pg_class c
      WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relowner = current_user::regrole
      AND relnamespace IN (SELECT oid FROM own)
      AND ('pg_class'::regclass, c.oid) NOT IN (TABLE member)
      AND NOT (relkind = 'S' AND EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
        AND d.deptype IN ('a', 'i')))
    UNION ALL
    SELECT 'ROUTINE', oid::regprocedure::text FROM pg_proc
      WHERE proowner = current_user::regrole AND pronamespace IN (SELECT oid FROM own)
      AND ('pg_proc'::regclass, oid) NOT IN (TABLE member)
    UNION ALL
    -- Enumerations, domains, ranges and composite types; all others belong to one of these.
    SELECT 'TYPE', t.oid::regtype::text FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid
      WHERE typowner = current_user::regrole AND typnamespace IN (SELECT oid FROM own)
      AND (typtype IN ('e', 'd', 'r') OR (typtype = 'c' AND c.relkind = 'c'))
      AND ('pg_type'::regclass, t.oid) NOT IN (TABLE member)
  LOOP
    EXECUTE format('ALTER %s %s OWNER TO drydock_owner', found.kind, found.name);
    RAISE NOTICE 'drydock_owner owns % %', lower(found.kind), found.name;
  END LOOP;
END $$;

-- What the service may do, now and with what later migrations make.
SELECT format('GRANT USAGE ON SCHEMA %I TO drydock_app', nspname),
  format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO drydock_app', nspname),
  format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO drydock_app', nspname)
FROM pg_namespace
WHERE nspowner IN ('drydock_owner'::regrole, 'pg_database_owner'::regrole)
\gexec
ALTER DEFAULT PRIVILEGES FOR ROLE drydock_owner GRANT USAGE ON SCHEMAS TO drydock_app;
ALTER DEFAULT PRIVILEGES FOR ROLE drydock_owner
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO drydock_app;
ALTER DEFAULT PRIVILEGES FOR ROLE drydock_owner GRANT USAGE, SELECT ON SEQUENCES TO drydock_app;

-- In the stack the superuser loses its password, so nobody can log in as it over the network. It keeps
-- the password while a version from before the roles still uses it. The next run looks again.
\if :{?superuser_is_local}
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_stat_activity WHERE usename = current_user AND client_addr IS NOT NULL)
  THEN
    RAISE NOTICE '% still has network connections, so it keeps its password for now', current_user;
  ELSIF (SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = current_user) THEN
    EXECUTE format('ALTER ROLE %I PASSWORD NULL', current_user);
    RAISE NOTICE 'nobody can log in as % over the network any more', current_user;
  END IF;
END $$;
\endif
COMMIT;
