"""Web pages for patrons and staff, and the HTTP API. Pages and API operations only run commands and queries.

How to add a page, for example `/staff/explain`:

1. The route: `web/staff/explain.py` with a Blueprint for its menu entry, and one function per page. The application registers
   every Blueprint in `web/staff/` and `web/patron/`.

       PAGES = Blueprint("explain", __name__)

       @PAGES.get("/staff/explain")
       @needs(StaffRole.VIEWER)                           # without a session: to the login page; a lower role: 403
       def form() -> str:
           found = execute(_facts())                        # runs `_facts(context)` on a database connection of its own
           return render_template("staff/explain.html", found=found)

   A change is one command: `execute(Act(actor("receive"), …, action="receive"))`. Its page says `@needs(Act)`: the row of the
   registry names the role.
   Refusals are returned as values, and so is TRY_AGAIN: show them on the page. After a successful POST, `redirect(…, 303)`.
2. The template: `templates/staff/explain.html` extends `base.html`, sets the blocks `title` and `main`, and has one `<h1>`.
   Every form has `{{ form_tokens() }}` (`{% from "parts.html" import form_tokens with context %}`): a form that is sent
   twice gets the first result. The Content-Security-Policy forbids inline scripts and styles.
   Texts are `{{ _("…") }}`. Filters: `day` (16 March 2017 (Thursday)), `moment` (with the time),
   `clock`, `money`. `parts.html` also has `badge` and `notice` in the three tones, and `rule` (a link to /help).
3. The menu: add a row to MENU in `web/layout.py`, or to PUBLIC_MENU for a page in `web/patron/`. A page for patrons that
   needs no login returns `kept(…)` (`web/patron/home.py`).
4. The texts: `make catalogue` adds them to `translations/zh_Hant/LC_MESSAGES/messages.po`; translate them there. In Python a
   text is `gettext("…")`, in a table `N_("…")`. A test lists every text without a translation.
5. The test: `tests/web/` has the fixture `site`, a gateway behind Flask's test client. `site.staff("clerk")` returns a browser
   with a logged-in clerk; `browser.post(path, at=page, field=…)` submits a form of that page. Add the path to PAGES in
   `test_layout.py`.

Never put a person's name, card or titles into a URL or the log. Search by POST, and put request numbers into links.
"""
