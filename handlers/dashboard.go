package handlers

import (
	"net/http"
	"strconv"
	"time"

	"gatehouse/templates"
	"gatehouse/web"
)

func (h *Handlers) dashboard(r *web.Request) (web.Response, error) {
	cost := r.Stats()
	page := r.Page("Dashboard")
	page.Notice, page.PageLinks = noticeOf(r), r.DashboardLinks()
	return web.Show(http.StatusOK, templates.Dashboard(templates.DashboardPage{
		Page:         page,
		Clock:        templates.NewClock(r.Now(), r.User().TimeZone),
		AuthorizedBy: authorizedBy(r),
		Took:         strconv.FormatFloat(float64(cost.RedisTime()+cost.SQLTime())/float64(time.Millisecond), 'f', 1, 64) + " ms",
		SQL:          cost.SQLStatements(),
	})), nil
}
