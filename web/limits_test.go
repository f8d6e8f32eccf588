package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/templates"
)

// TestRequests_ReleaseTheirMemory: after any response, no memory is counted as used.
func TestRequests_ReleaseTheirMemory(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	s := newSite(t, []Route{
		Get("/", Open, showUser),
		Get("/fail", Open, func(*Request) (Response, error) { return Response{}, errSecret }),
		Post("/form", Open, func(r *Request) (Response, error) {
			form, err := r.Form()
			return Text(http.StatusOK, "read "+form.Get("a")), err
		}),
		Post("/panic", Open, func(*Request) (Response, error) { panic("x") }),
	})
	s.do("GET", "/")
	s.do("GET", "/fail")
	s.do("POST", "/panic", body(form, "a=b"))
	for _, n := range []int{0, 1, 510, 511, 512, 513, 4095, 4096, 5000, maxBody - 2, maxBody} {
		for _, announced := range []bool{true, false} {
			text := "a=" + strings.Repeat("x", n)
			w := s.do("POST", "/form", body(form, text), func(r *http.Request) {
				if !announced {
					r.ContentLength = -1
				}
			})
			if n <= maxBody-2 && w.Body.String() != "read "+text[2:] {
				t.Errorf("sent %d octets, the handler read %d", n, w.Body.Len()-5)
			}
			if n > maxBody-2 && w.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("%d octets: got %d", len(text), w.Code)
			}
		}
	}
	if n := s.limiter.InUse(); n != 0 {
		t.Errorf("%d octets are still counted as used", n)
	}
}

// TestResponse_SizeIsLimited: a larger response becomes an error page, and its buffer is not reused.
func TestResponse_SizeIsLimited(t *testing.T) {
	s := newSite(t, []Route{
		Get("/text", Open, func(*Request) (Response, error) { return Text(http.StatusOK, strings.Repeat("x", maxResponse+1)), nil }),
		Get("/page", Open, func(r *Request) (Response, error) {
			page := templates.ErrorPage{Page: r.Page("Large"), What: strings.Repeat("x", maxResponse)}
			return Show(http.StatusOK, templates.Error(page)), nil
		}),
		Get("/most", Open, func(*Request) (Response, error) { return Text(http.StatusOK, strings.Repeat("x", maxResponse)), nil }),
	})
	wantErrorPage(t, s.do("GET", "/text"), http.StatusInternalServerError)
	wantErrorPage(t, s.do("GET", "/page"), http.StatusInternalServerError)
	if w := s.do("GET", "/most"); w.Code != http.StatusOK || w.Body.Len() != maxResponse {
		t.Errorf("the largest response: got %d, %d octets", w.Code, w.Body.Len())
	}
	for range 100 {
		if o := newOutgoing(); o.Cap() > maxPooled {
			t.Fatalf("a buffer of %d octets is kept", o.Cap())
		}
	}
}

// TestSignInAddress_LengthIsLimited: an address longer than that of any page is dropped.
func TestSignInAddress_LengthIsLimited(t *testing.T) {
	s := newSite(t, userRoutes)
	if got := s.do("GET", "/private?"+strings.Repeat("%22", 20000)).Header().Get("Location"); got != "/login" {
		t.Errorf("got an address of %d octets", len(got))
	}
	if got := s.do("GET", "/private?a=b").Header().Get("Location"); got != "/login?next=%2Fprivate%3Fa%3Db" {
		t.Errorf("got %q", got)
	}
}

// formFields returns a form with n fields of different names.
func formFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%x=&", i)
	}
	return b.String()
}

// sending calls a function when the response is sent.
type sending struct {
	http.ResponseWriter
	begin func()
}

func (s sending) Write(p []byte) (int, error) { s.begin(); return s.ResponseWriter.Write(p) }

// TestForm_IsReleasedBeforeTheResponseIsSent: a client that does not read holds the memory of its response only.
func TestForm_IsReleasedBeforeTheResponseIsSent(t *testing.T) {
	var req *http.Request
	s := newSite(t, []Route{
		Post("/form", Open, func(r *Request) (Response, error) {
			req = r.echo.Request()
			form, err := r.Form()
			return Text(http.StatusOK, fmt.Sprint(len(form))), err
		}),
	})
	for n, status := range map[int]int{maxFormFields: http.StatusOK, maxFormFields + 2: http.StatusRequestEntityTooLarge} {
		post := httptest.NewRequest("POST", "/form", strings.NewReader(formFields(n)))
		post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		post.Header.Set("Origin", "https://login.example.org")
		w, sent := httptest.NewRecorder(), false
		s.ServeHTTP(sending{w, func() {
			sent = true
			if req.Form != nil || req.PostForm != nil || req.Body != http.NoBody {
				t.Errorf("the request still holds %d fields", len(req.Form))
			}
		}}, post)
		if w.Code != status || !sent {
			t.Errorf("%d fields: got %d, %s", n, w.Code, w.Body)
		}
	}
}
