package handlers

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse/templates"
	"gatehouse/web"
)

func (h *Handlers) dashboard(r *web.Request) (web.Response, error) {
	cost := r.Stats()
	page, now, search := r.Page("Dashboard"), r.Now(), strings.TrimSpace(r.Query("q"))
	if search == "" {
		page.NextMinute = 60 - now.Second()
	}
	page.Notice, page.PageLinks = noticeOf(r), r.DashboardLinks()
	return web.Show(http.StatusOK, templates.Dashboard(templates.DashboardPage{
		Page:         page,
		Launcher:     h.launcher(r.User(), search),
		Clock:        templates.NewClock(now, r.User().TimeZone, r.User().Preferences),
		AuthorizedBy: authorizedBy(r),
		Took:         strconv.FormatFloat(float64(cost.RedisTime()+cost.SQLTime())/float64(time.Millisecond), 'f', 1, 64) + " ms",
		SQL:          cost.SQLStatements(),
	})), nil
}
