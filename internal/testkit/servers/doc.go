// Package servers starts private Postgres and Redis servers on free ports, for tests and for
// internal/check. Nothing that it starts or writes outlives the calling process, however that
// process ends. It knows nothing of Gatehouse. On Windows
// it compiles, but starts nothing.
package servers
