package reqstats_test

import (
	"testing"
	"time"

	"gatehouse/internal/reqstats"
)

func TestStats_CountPerContext(t *testing.T) {
	ctx, stats := reqstats.NewContext(t.Context())
	reqstats.FromContext(ctx).AddRedis(time.Millisecond)
	reqstats.FromContext(ctx).AddSQL(2 * time.Millisecond)
	reqstats.FromContext(ctx).AddSQL(3 * time.Millisecond)
	if stats.RedisRoundTrips() != 1 || stats.SQLStatements() != 2 || stats.RedisTime() != time.Millisecond || stats.SQLTime() != 5*time.Millisecond {
		t.Errorf("got %d, %d, %s, %s", stats.RedisRoundTrips(), stats.SQLStatements(), stats.RedisTime(), stats.SQLTime())
	}
	reqstats.FromContext(t.Context()).AddSQL(1) // is discarded
}
