// SPDX-License-Identifier: MIT
#include "cli/top_screen.h"

#include "control/proc.h"

#include <curses.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEY_ESCAPE 27
#define DELAY_MIN_MS 100u
#define DELAY_MAX_MS 3600000u
#define HELP \
	"q quit  arrows select  Enter into  Esc back  t threads  n nodes  r regions  p processes  < > sort  i turn  " \
	"+ - delay"

enum { PAIR_GOOD = 1, PAIR_FAIR, PAIR_POOR, PAIR_BAD };

struct view {
	struct hn_top top;
	struct hn_attached attached;
	struct hn_top_table table;
	enum hn_top_screen screen;
	unsigned sort[HN_TOP_SCREENS];
	bool reverse[HN_TOP_SCREENS];
	uint32_t pid;      /* of the screens below processes */
	uint64_t selected; /* key of the row */
	size_t at, first;  /* its index; the first row shown */
	unsigned delay_ms;
	bool colours, quit;
	char note[160];
};

static volatile sig_atomic_t ended;

static void on_signal(int sig)
{
	(void)sig;
	ended = 1;
}

/* ---- the state ---- */

static void view_table(struct view *v)
{
	hn_top_table_fini(&v->table);
	if (!hn_top_table(&v->top, v->screen, v->pid, v->sort[v->screen], v->reverse[v->screen], &v->table)) {
		if (v->pid)
			snprintf(v->note, sizeof(v->note), "process %" PRIu32 " is gone", v->pid);
		v->screen = HN_TOP_PROCESSES;
		hn_top_table_fini(&v->table);
		hn_top_table(&v->top, v->screen, 0, v->sort[v->screen], v->reverse[v->screen], &v->table);
	}
	/* the selection stays on what it was on, wherever that is now */
	for (size_t i = 0; i < v->table.nr; i++)
		if (v->table.row[i].key == v->selected)
			v->at = i;
	if (v->at >= v->table.nr)
		v->at = v->table.nr ? v->table.nr - 1 : 0;
	if (v->table.nr)
		v->selected = v->table.row[v->at].key;
}

static void view_refresh(struct view *v)
{
	struct hn_attached a = { 0 };

	if (hn_attach(&a) == 0 && hn_top_refresh(&v->top, &a)) {
		hn_attach_close(&v->attached);
		v->attached = a;
	} else {
		hn_attach_close(&a);
	}
	view_table(v);
}

static void view_select(struct view *v, long by)
{
	long at = (long)v->at + by, last = (long)v->table.nr - 1;

	if (!v->table.nr)
		return;
	v->at = (size_t)(at < 0 ? 0 : at > last ? last : at);
	v->selected = v->table.row[v->at].key;
}

static void view_go(struct view *v, enum hn_top_screen screen)
{
	if (screen != HN_TOP_PROCESSES && v->screen == HN_TOP_PROCESSES) {
		if (!v->table.nr)
			return;
		v->pid = (uint32_t)v->selected;
	}
	v->selected = screen == HN_TOP_PROCESSES ? v->pid : 0;
	v->screen = screen;
	v->at = v->first = 0;
	view_table(v);
}

static void view_sort(struct view *v, int by)
{
	unsigned nr = v->table.nr_columns;

	v->sort[v->screen] = (v->sort[v->screen] + nr + (unsigned)by) % nr;
	v->reverse[v->screen] = false;
	view_table(v);
}

static void view_delay(struct view *v, bool longer)
{
	v->delay_ms = longer ? v->delay_ms * 2 : v->delay_ms / 2;
	if (v->delay_ms < DELAY_MIN_MS)
		v->delay_ms = DELAY_MIN_MS;
	if (v->delay_ms > DELAY_MAX_MS)
		v->delay_ms = DELAY_MAX_MS;
}

static void view_key(struct view *v, int key)
{
	v->note[0] = 0;
	switch (key) {
	case 'q': v->quit = true; break;
	case KEY_UP: case 'k': view_select(v, -1); break;
	case KEY_DOWN: case 'j': view_select(v, 1); break;
	case KEY_PPAGE: view_select(v, -(LINES - 4)); break;
	case KEY_NPAGE: view_select(v, LINES - 4); break;
	case KEY_HOME: view_select(v, -1000000); break;
	case KEY_END: view_select(v, 1000000); break;
	case '\n': case '\r': case KEY_ENTER: case KEY_RIGHT:
		if (v->screen == HN_TOP_PROCESSES)
			view_go(v, HN_TOP_THREADS);
		break;
	case KEY_ESCAPE: case KEY_BACKSPACE: case 127: case '\b': case KEY_LEFT: case 'p':
		view_go(v, HN_TOP_PROCESSES);
		break;
	case 't': view_go(v, HN_TOP_THREADS); break;
	case 'n': view_go(v, HN_TOP_NODES); break;
	case 'r': view_go(v, HN_TOP_REGIONS); break;
	case '<': case ',': view_sort(v, -1); break;
	case '>': case '.': view_sort(v, 1); break;
	case 'i': v->reverse[v->screen] = !v->reverse[v->screen]; view_table(v); break;
	case '+': view_delay(v, true); break;
	case '-': view_delay(v, false); break;
	default: break; /* KEY_RESIZE among them: the next drawing has the new size */
	}
}

/* ---- drawing ---- */

static attr_t strip_colour(char c)
{
	switch (c) {
	case '#': return COLOR_PAIR(PAIR_GOOD);
	case '+': return COLOR_PAIR(PAIR_FAIR);
	case '-': return COLOR_PAIR(PAIR_POOR);
	case '.': return COLOR_PAIR(PAIR_BAD);
	default: return A_NORMAL;
	}
}

static void draw_row(const struct view *v, size_t i, int y)
{
	const struct hn_top_row *r = &v->table.row[i];
	int x, strip = (int)strlen(r->strip);
	char line[256];

	hn_top_line(&v->table, i, line, sizeof(line));
	x = (int)strlen(line) - strip;
	if (i == v->at)
		attron(A_REVERSE);
	mvaddnstr(y, 0, line, COLS < x ? COLS : x);
	if (i == v->at)
		attroff(A_REVERSE);
	for (int k = 0; k < strip && x + k < COLS; k++) {
		bool coloured = v->colours && v->screen != HN_TOP_NODES;

		mvaddch(y, x + k, (chtype)r->strip[k] | (coloured ? strip_colour(r->strip[k]) : A_NORMAL));
	}
}

/* The heading, the column it is sorted by standing out. */
static void draw_heading(const struct view *v, int y)
{
	char line[256];
	int x = 0;

	hn_top_heading(&v->table, line, sizeof(line));
	attron(A_BOLD);
	mvaddnstr(y, 0, line, COLS);
	for (unsigned i = 0; i < v->table.nr_columns; i++) {
		int width = abs(v->table.column[i].width);

		if (i == v->sort[v->screen] && x + width <= COLS)
			mvchgat(y, x, width, A_BOLD | A_UNDERLINE, 0, NULL);
		x += width + 2;
	}
	attroff(A_BOLD);
}

static void draw(struct view *v)
{
	int rows = LINES - 4;

	erase();
	mvaddnstr(0, 0, v->table.title, COLS);
	if (COLS > 100)
		mvprintw(0, COLS - 20, "every %.1f s", v->delay_ms / 1e3);
	draw_heading(v, 2);
	if (rows < 1)
		rows = 1;
	if (v->at < v->first)
		v->first = v->at;
	if (v->at >= v->first + (size_t)rows)
		v->first = v->at - (size_t)rows + 1;
	for (int i = 0; i < rows && v->first + (size_t)i < v->table.nr; i++)
		draw_row(v, v->first + (size_t)i, 3 + i);
	if (!v->table.nr)
		mvaddnstr(3, 0, v->screen == HN_TOP_PROCESSES ? "no managed process: start one with `hugenuma run'" :
								 "nothing on record", COLS);
	if (LINES > 1) {
		move(LINES - 1, 0);
		clrtoeol();
		attron(A_DIM);
		mvaddnstr(LINES - 1, 0, v->note[0] ? v->note : HELP, COLS > 0 ? COLS - 1 : 0);
		attroff(A_DIM);
	}
	refresh();
}

static void start_colours(struct view *v)
{
	v->colours = has_colors() && start_color() == OK && use_default_colors() == OK;
	if (!v->colours)
		return;
	init_pair(PAIR_GOOD, COLOR_GREEN, -1);
	init_pair(PAIR_FAIR, COLOR_CYAN, -1);
	init_pair(PAIR_POOR, COLOR_YELLOW, -1);
	init_pair(PAIR_BAD, COLOR_RED, -1);
}

/*
 * Signals come while we wait, and at no other time: one that came after the look at `ended` would be noticed at the next key
 * or refresh only, which may be an hour away.
 */
static void catch_signals(sigset_t *mask)
{
	static const int caught[] = { SIGTERM, SIGHUP, SIGINT };
	struct sigaction act = { .sa_handler = on_signal };
	sigset_t held;

	sigemptyset(&held);
	sigaddset(&held, SIGWINCH); /* of curses */
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
		sigaddset(&held, caught[i]);
		sigaction(caught[i], &act, NULL);
	}
	sigprocmask(SIG_BLOCK, &held, mask);
}

static void wait_for_key(uint64_t until_ms, const sigset_t *mask)
{
	uint64_t now = hn_now_ms(), ms = until_ms > now ? until_ms - now : 0;
	const struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };
	struct pollfd terminal = { .fd = STDIN_FILENO, .events = POLLIN };

	ppoll(&terminal, 1, &t, mask);
}

static void view_loop(struct view *v, const struct hn_top_wish *w, const sigset_t *mask)
{
	uint64_t next = hn_now_ms() + v->delay_ms;
	unsigned looks = 1;
	bool waited = false;

	timeout(0);
	for (draw(v); !v->quit && !ended; draw(v)) {
		int key = getch(); /* of those that curses has read, too */

		if (key != ERR) {
			view_key(v, key);
			waited = false;
			continue;
		}
		if (hn_now_ms() < next) {
			/* the terminal is gone */
			if (waited && !isatty(STDIN_FILENO))
				return;
			wait_for_key(next, mask);
			waited = true;
			continue;
		}
		if (w->iterations && looks++ >= w->iterations)
			return;
		view_refresh(v);
		next = hn_now_ms() + v->delay_ms;
	}
}

static void view_begin(struct view *v, const struct hn_top_wish *w)
{
	for (unsigned i = 0; i < HN_TOP_SCREENS; i++)
		v->sort[i] = hn_top_default_sort((enum hn_top_screen)i);
	v->sort[w->screen] = w->sort;
	view_refresh(v);
	v->pid = w->pid ? w->pid : hn_top_biggest(&v->top);
	v->screen = w->screen;
	view_table(v);
}

static void view_fini(struct view *v)
{
	hn_top_table_fini(&v->table);
	hn_top_fini(&v->top);
	hn_attach_close(&v->attached);
}

static int view_show(struct view *v, const struct hn_top_wish *w)
{
	SCREEN *s = newterm(NULL, stdout, stdin);
	sigset_t mask;

	if (!s)
		return -1;
	set_term(s);
	catch_signals(&mask);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	set_escdelay(50);
	curs_set(0);
	start_colours(v);
	view_loop(v, w, &mask);
	endwin();
	delscreen(s);
	return 0;
}

int hn_top_screen_run(const struct hn_top_wish *w)
{
	struct view v = { .delay_ms = w->delay_ms, .selected = w->pid };
	const char *term = getenv("TERM");
	int status;

	if (!term || !*term || strcmp(term, "dumb") == 0)
		return -1;
	view_begin(&v, w);
	/* that nothing at all is managed can be seen on the screen */
	status = w->pid && hn_top_say_missing(&v.top, w) ? 1 : view_show(&v, w);
	view_fini(&v);
	return status;
}
