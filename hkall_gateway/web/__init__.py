"""Pages for people in a browser: patrons, staff and the API. Pages only run commands and queries.

How to add a page, `/staff/explain` for example:

1. The route: `web/staff/explain.py` with a Blueprint for its entry in the menu, one function a page. The application registers
   every Blueprint of `web/staff/` and `web/patron/`.

       PAGES = Blueprint("explain", __name__)

       @PAGES.get("/staff/explain")
       @needs(StaffRole.VIEWER)                           # without a session: to the login page; a lower role: 403
       def form() -> str:
           found = consult(_facts)                        # `_facts(context)` queries on a connection of this page's own
           return render_template("staff/explain.html", found=found)

   A change is one command: `execute(Act(actor("receive"), …, action="receive"))`.
   A refusal is a value, and so is TRY_AGAIN; show it. After a POST that succeeded, `redirect(…, 303)`.
2. The template: `templates/staff/explain.html` extends `base.html`, sets the blocks `title` and `main`, and has one `<h1>`.
   Every form has `{{ csrf() }}` (`{% from "parts.html" import csrf with context %}`). The policy of the pages forbids inline
   scripts and styles. Texts are `{{ _("…") }}`. Filters: `day` (16 March 2017 (Thursday)), `moment` (with the time), `clock`,
   `money`. `parts.html` also has `badge` and `notice` in the three tones, and `rule` (a link to /help).
3. The menu: a row of MENU in `web/layout.py`; of PUBLIC_MENU for a page of patrons, which is in `web/patron/`. A page there
   that needs no login returns `kept(…)` (`web/patron/home.py`).
4. The texts: `make catalogue` adds them to `translations/zh_Hant/LC_MESSAGES/messages.po`; translate them there. In Python a
   text is `gettext("…")`, in a table `N_("…")`. A test names each text without a translation.
5. The test: `tests/web/` has the fixture `site`, a world behind Flask's test client. `site.staff("clerk")` is a browser of a
   clerk who is logged in; `browser.post(path, at=page, field=…)` sends a form of that page. Add the path to PAGES of
   `test_layout.py`.

No name, card or title of a person stands in a URL or in the log: find by POST, link by number.
"""
