// Package kv keeps in Redis what a signed-in request needs: sessions, API tokens, the caches of users and
// credentials, rate limits, the stream of changed users and maintenance mode. Each type implements a
// store of package auth over package redisconn. It must know neither HTTP nor SQL.
package kv
