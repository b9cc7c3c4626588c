/* SPDX-License-Identifier: MIT */
/* The picture. Runs in restante-bench; numbers and the command line go in, nothing a server said. */
#include "bench/plot.h"

#include <math.h>
#include <string.h>

enum {
	WIDTH = 900,
	HEIGHT = 560,
	LEFT = 80, /* of a panel */
	PANEL_WIDTH = WIDTH - LEFT - 110,
	PANEL_HEIGHT = 190,
	UPPER = 60, /* the top of each panel */
	LOWER = 310,
	POINTS_MAX = 700, /* of a line; longer runs have several rows for a point */
	TICKS = 5,
};

/* What can be drawn: one value of a row, given the row before it (NULL for the first). Negative: nothing
 * there. */
typedef double value_of(const struct tally_row *row, const struct tally_row *before);

struct line {
	const char *name, *colour;
	value_of *value;
};

struct panel {
	const char *title;
	double top, lowest, highest; /* highest > lowest */
	bool logarithmic;
	const struct line *lines;
	unsigned count;
};

static double latency_ms(const struct tally_row *row, uint64_t ns)
{
	return row->count ? (double)ns / 1e6 : -1;
}

static double p50_of(const struct tally_row *row, const struct tally_row *before)
{
	(void)before;
	return latency_ms(row, row->p50);
}

static double p99_of(const struct tally_row *row, const struct tally_row *before)
{
	(void)before;
	return latency_ms(row, row->p99);
}

static double max_of(const struct tally_row *row, const struct tally_row *before)
{
	(void)before;
	return latency_ms(row, row->max);
}

static double rate_of(uint64_t now, uint64_t then, const struct tally_row *row,
                      const struct tally_row *before)
{
	double seconds = row->at - (before ? before->at : 0);
	return seconds > 0 ? (double)(now - then) / seconds : -1;
}

static double sessions_of(const struct tally_row *row, const struct tally_row *before)
{
	return rate_of(row->sums.sessions, before ? before->sums.sessions : 0, row, before);
}

static double octets_of(const struct tally_row *row, const struct tally_row *before)
{
	double rate = rate_of(row->sums.octets, before ? before->sums.octets : 0, row, before);
	return rate < 0 ? rate : rate / 1e6;
}

static double held_of(const struct tally_row *row, const struct tally_row *before)
{
	(void)before;
	return row->held;
}

static const struct line latency_lines[] = {
    {"max", "#c0504d", max_of},
    {"p99", "#e0a030", p99_of},
    {"p50", "#2a6ebb", p50_of}
};
static const struct line session_lines[] = {
    {"sessions/s", "#2a6ebb", sessions_of}
};
static const struct line octet_lines[] = {
    {"MB/s", "#2a6ebb", octets_of}
};
static const struct line held_lines[] = {
    {"held", "#2a6ebb", held_of}
};

/* The greatest of the rows that make the point; the picture must not hide one bad second of an hour. */
static double point_of(const struct tally *tally, const struct line *line, size_t point, size_t each)
{
	double highest = -1;
	for (size_t i = point * each; i < (point + 1) * each && i < tally->rows_count; i++) {
		double value = line->value(&tally->rows[i], i ? &tally->rows[i - 1] : NULL);
		if (value > highest)
			highest = value;
	}
	return highest;
}

static size_t rows_for_a_point(const struct tally *tally)
{
	return (tally->rows_count + POINTS_MAX - 1) / POINTS_MAX;
}

static void set_range(struct panel *panel, const struct tally *tally)
{
	double lowest = INFINITY, highest = 0;
	for (unsigned l = 0; l < panel->count; l++) {
		for (size_t i = 0; i < tally->rows_count; i++) {
			double value = point_of(tally, &panel->lines[l], i, 1);
			if (value > highest)
				highest = value;
			if (value > 0 && value < lowest)
				lowest = value;
		}
	}
	if (highest <= 0)
		lowest = highest = 1;
	if (panel->logarithmic) {
		panel->lowest = pow(10, floor(log10(lowest)));
		panel->highest = pow(10, floor(log10(highest)) + 1);
	} else {
		static const double steps[] = {1, 2, 2.5, 5, 10};
		double decade = pow(10, floor(log10(highest / TICKS)));
		unsigned step = 0;
		while (step < sizeof steps / sizeof steps[0] - 1 && decade * steps[step] * TICKS < highest)
			step++;
		panel->lowest = 0;
		panel->highest = decade * steps[step] * TICKS;
	}
}

static double y_of(const struct panel *panel, double value)
{
	double part = panel->logarithmic
	                  ? log10(value / panel->lowest) / log10(panel->highest / panel->lowest)
	                  : value / panel->highest;
	return panel->top + PANEL_HEIGHT * (1 - part);
}

static double x_of(const struct tally *tally, double seconds)
{
	return LEFT + (tally->seconds > 0 ? PANEL_WIDTH * seconds / tally->seconds : 0);
}

static void draw_tick(FILE *to, const struct panel *panel, double value)
{
	double y = y_of(panel, value);
	fprintf(to,
	        "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
	        "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n",
	        LEFT, LEFT + PANEL_WIDTH, y, y, LEFT - 8, y + 4, value);
}

static void draw_axes(FILE *to, const struct panel *panel, const struct tally *tally)
{
	fprintf(to, "<text class=\"title\" x=\"%d\" y=\"%.0f\">%s</text>\n", LEFT, panel->top - 10,
	        panel->title);
	if (panel->logarithmic)
		for (double value = panel->lowest; value < panel->highest * 1.01; value *= 10)
			draw_tick(to, panel, value);
	else
		for (unsigned i = 0; i <= TICKS; i++)
			draw_tick(to, panel, panel->highest * i / TICKS);
	for (unsigned i = 0; i <= TICKS; i++) {
		double seconds = tally->seconds * i / TICKS;
		fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.3g s</text>\n",
		        x_of(tally, seconds), panel->top + PANEL_HEIGHT + 18, seconds);
	}
}

/* A line has gaps where there was nothing to measure. */
static void draw_line(FILE *to, const struct panel *panel, const struct line *line, const struct tally *tally)
{
	size_t each = rows_for_a_point(tally);
	bool drawing = false;
	fprintf(to, "<path stroke=\"%s\" d=\"", line->colour);
	for (size_t point = 0; point * each < tally->rows_count; point++) {
		size_t last = (point + 1) * each - 1;
		if (last >= tally->rows_count)
			last = tally->rows_count - 1;
		double value = point_of(tally, line, point, each);
		bool drawable = value >= 0 && (value > 0 || !panel->logarithmic);
		if (drawable)
			fprintf(to, "%c%.1f %.1f", drawing ? 'L' : 'M', x_of(tally, tally->rows[last].at),
			        y_of(panel, value));
		drawing = drawable;
	}
	fputs("\"/>\n", to);
}

static void draw_panel(FILE *to, struct panel *panel, const struct tally *tally)
{
	set_range(panel, tally);
	draw_axes(to, panel, tally);
	for (unsigned i = 0; i < panel->count; i++) {
		const struct line *line = &panel->lines[i];
		double y = panel->top + 12 + 20 * i;
		draw_line(to, panel, line, tally);
		fprintf(to, "<text x=\"%d\" y=\"%.0f\" fill=\"%s\">%s</text>\n", LEFT + PANEL_WIDTH + 12, y,
		        line->colour, line->name);
	}
}

static void draw_text(FILE *to, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c > 0x7e)
			fputc('?', to);
		else if (strchr("<>&\"", c))
			fprintf(to, "&#%u;", c);
		else
			fputc(c, to);
	}
}

static void draw_head(FILE *to, const struct report_subject *subject, const struct tally *tally)
{
	const struct run_plan *plan = subject->plan;
	fprintf(
	    to,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
	    "font-size=\"12\" fill=\"#333333\">\n"
	    "<style>path{fill:none;stroke-width:1.6;stroke-linejoin:round}.grid{stroke:#dddddd}"
	    ".title{font-size:14px;font-weight:bold}</style>\n"
	    "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n<text class=\"title\" x=\"%d\" y=\"24\">",
	    WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT);
	draw_text(to, plan->client.profile->name);
	fputs(" on ", to);
	draw_text(to, subject->host);
	fputs(" port ", to);
	draw_text(to, subject->port);
	fprintf(to, ", TLS %s, %u connections", security_names[plan->security], plan->connections);
	if (plan->rate)
		fprintf(to, ", %u sessions due in a second", plan->rate);
	fprintf(to, "; %llu errors</text>\n", (unsigned long long)tally->sums.faults);
}

int plot_svg(FILE *to, const struct report_subject *subject, const struct tally *tally)
{
	const struct profile *profile = subject->plan->client.profile;
	char title[64];
	(void)snprintf(title, sizeof title, "latency of a %s, ms", metric_names[tally->shown]);
	struct panel upper = {
	    .title = title, .top = UPPER, .logarithmic = true, .lines = latency_lines, .count = 3};
	struct panel lower = {
	    .title = "sessions in a second", .top = LOWER, .lines = session_lines, .count = 1};
	if (profile_has(profile, STEP_HOLD)) {
		lower.title = "sessions held";
		lower.lines = held_lines;
	} else if (profile_has(profile, STEP_RETR)) {
		lower.title = "octets fetched, MB/s";
		lower.lines = octet_lines;
	}
	draw_head(to, subject, tally);
	draw_panel(to, &upper, tally);
	draw_panel(to, &lower, tally);
	fputs("</svg>\n", to);
	return ferror(to) ? ERR_IO : ERR_NONE;
}
