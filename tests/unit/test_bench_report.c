/* SPDX-License-Identifier: MIT */
/* What restante-bench makes of a run: histogram, unique-ids, tally, JSON, picture. */
#include "bench/plot.h"
#include "bench/uids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>
#include <jansson.h>

/* --- histogram --- */

static void test_an_empty_histogram_says_zero(void **state)
{
	(void)state;
	static struct hist hist;
	assert_int_equal(hist_quantile(&hist, 0.5), 0);
	assert_int_equal(hist_quantile(&hist, 1), 0);
	assert_true(hist_mean(&hist) < 1e-9);
}

/* Every value alone, and beside a longer one so that its bucket and not the maximum answers. */
static void test_a_value_is_known_to_one_in_a_hundred(void **state)
{
	(void)state;
	for (uint64_t value = 0; value < UINT64_C(1) << (HIST_VALUE_LOG2 - 1); value += value / 57 + 1) {
		static struct hist hist;
		memset(&hist, 0, sizeof hist);
		hist_add(&hist, value);
		assert_int_equal(hist_quantile(&hist, 0.5), value);
		assert_int_equal(hist.min, value);
		hist_add(&hist, 2 * value + 1000);
		uint64_t half = hist_quantile(&hist, 0.5);
		assert_in_range(half, value, value + value / 100);
		assert_int_equal(hist_quantile(&hist, 1), 2 * value + 1000);
	}
}

/* Where buckets begin and end, up to the last that is one of a hundred wide; beside the longest of all. */
static void test_the_edges_of_buckets_are_known_as_well(void **state)
{
	(void)state;
	for (unsigned log2 = 1; log2 <= HIST_VALUE_LOG2; log2++) {
		uint64_t edge = UINT64_C(1) << log2;
		for (uint64_t value = edge - 1; value <= edge + 1 && value >> HIST_VALUE_LOG2 == 0; value++) {
			static struct hist hist;
			memset(&hist, 0, sizeof hist);
			hist_add(&hist, value);
			hist_add(&hist, UINT64_MAX);
			assert_in_range(hist_quantile(&hist, 0.5), value, value + value / 100);
		}
	}
}

static void test_quantiles_are_those_of_the_sorted_values(void **state)
{
	(void)state;
	static struct hist hist;
	for (uint64_t value = 1000; value >= 1; value--)
		hist_add(&hist, value * 1000);
	static const struct {
		double quantile;
		uint64_t value;
	} expected[] = {
	    {0.0005, 1000   },
            {0.5,    500000 },
            {0.9,    900000 },
            {0.99,   990000 },
            {0.999,  999000 },
            {1,      1000000}
        };
	for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
		assert_in_range(hist_quantile(&hist, expected[i].quantile), expected[i].value,
		                expected[i].value * 101 / 100);
	assert_int_equal((uint64_t)hist_mean(&hist), 500500);
}

static void test_a_value_longer_than_the_longest_is_kept(void **state)
{
	(void)state;
	static struct hist hist;
	hist_add(&hist, UINT64_MAX);
	hist_add(&hist, 5);
	assert_int_equal(hist_quantile(&hist, 0.5), 5);
	assert_true(hist_quantile(&hist, 0.9) == UINT64_MAX);
}

/* --- unique-ids --- */

static void test_a_unique_id_that_comes_again_is_noticed(void **state)
{
	(void)state;
	struct uids uids = {0};
	char text[32];
	for (int i = 0; i < 5000; i++) {
		int len = snprintf(text, sizeof text, "%d.host", i);
		assert_int_equal(uids_add(&uids, span_of(text, (size_t)len)), ERR_NONE);
	}
	assert_int_equal(uids_add(&uids, SPAN("0.host")), ERR_EXISTS);
	assert_int_equal(uids_add(&uids, SPAN("4999.host")), ERR_EXISTS);
	assert_int_equal(uids_add(&uids, SPAN("5000.host")), ERR_NONE);
	uids_finish(&uids);
	assert_int_equal(uids_add(&uids, SPAN("0.host")), ERR_NONE);
	uids_finish(&uids);
}

/* --- tally --- */

static void test_the_gravest_error_decides_how_the_program_exits(void **state)
{
	(void)state;
	static struct tally tally;
	struct error none = {.text = ""}, first = {.text = "the first"}, second = {.text = "the second"};
	assert_int_equal(tally_exit(&tally), EX_UNAVAILABLE); /* nothing was served */
	tally.sums.sessions = 1;
	assert_int_equal(tally_exit(&tally), EX_OK);
	tally_fault(&tally, ERR_TIMEOUT, &none);
	assert_int_equal(tally_exit(&tally), EX_TEMPFAIL);
	assert_string_equal(tally.faults[FAULT_TIMEOUT].example.text, err_text(ERR_TIMEOUT));
	tally_fault(&tally, ERR_DENIED, &none);
	assert_int_equal(tally_exit(&tally), EX_NOPERM);
	tally_fault(&tally, ERR_CORRUPT, &first);
	tally_fault(&tally, ERR_CORRUPT, &second);
	assert_int_equal(tally_exit(&tally), EX_PROTOCOL);
	assert_int_equal(tally.faults[FAULT_MISMATCH].count, 2);
	assert_string_equal(tally.faults[FAULT_MISMATCH].example.text, "the first");
	assert_int_equal(tally.sums.faults, 4);
	tally_finish(&tally);
}

/* As the manual page has it: the server's doing before its absence, and that before its silence. */
static void test_every_pair_of_errors_has_its_gravest(void **state)
{
	(void)state;
	static const int gravity[] = {EX_PROTOCOL, EX_NOPERM, EX_UNAVAILABLE, EX_TEMPFAIL};
	for (unsigned a = 0; a < FAULTS; a++) {
		for (unsigned b = 0; b < FAULTS; b++) {
			static struct tally tally;
			tally = (struct tally){0};
			tally.faults[a].count = tally.faults[b].count = 1;
			unsigned i = 0;
			while (gravity[i] != fault_rows[a].exit && gravity[i] != fault_rows[b].exit)
				i++;
			assert_int_equal(tally_exit(&tally), gravity[i]);
		}
	}
}

/* A run of three pieces and a bit, with an error whose example is as odd as it can be. */
static void make_run(struct tally *tally)
{
	struct error odd = {.text = "PASS: -ERR \"<&>\\"};
	*tally = (struct tally){.shown = METRIC_SESSION};
	for (unsigned second = 1; second <= 3; second++) {
		for (unsigned i = 0; second != 2 && i < 100; i++) { /* nothing happens in the second one */
			tally->sums.sessions++;
			tally_latency(tally, METRIC_SESSION, (i + 1) * 10000 * second);
		}
		assert_true(tally_row(tally, second, 5, 0));
	}
	tally_fault(tally, ERR_DENIED, &odd);
	tally_latency(tally, METRIC_SESSION, 77000000);
	tally->sums.sessions++;
	tally->seconds = 3.1;
	tally_end(tally, 3.1, 0.5);
}

static void test_rows_show_their_own_piece(void **state)
{
	(void)state;
	static struct tally tally;
	make_run(&tally);
	assert_int_equal(tally.rows_count, 3);
	assert_int_equal(tally.rows[0].count, 100);
	assert_int_equal(tally.rows[0].max, 1000000);
	assert_int_equal(tally.rows[1].count, 0);
	assert_int_equal(tally.rows[1].sums.sessions, 100);
	/* What came after the last whole piece is added to it. */
	assert_int_equal(tally.rows[2].count, 101);
	assert_int_equal(tally.rows[2].max, 77000000);
	assert_int_equal(tally.rows[2].sums.sessions, 201);
	assert_int_equal(tally.rows[2].sums.faults, 1);
	tally_end(&tally, 4, 0.5);
	assert_int_equal(tally.rows_count, 4);
	tally_finish(&tally);
}

/* --- reports --- */

static struct run_plan plan;

static struct report_subject subject_of(const char *host)
{
	plan = (struct run_plan){.connections = 3, .rate = 50};
	plan.client.profile = profile_find("poll");
	plan.client.window = 1;
	return (struct report_subject){&plan, host, "110"};
}

static void test_json_says_what_was_added_up(void **state)
{
	(void)state;
	static struct tally tally;
	make_run(&tally);
	struct report_subject subject = subject_of("127.0.0.1");
	FILE *file = tmpfile();
	assert_non_null(file);
	assert_int_equal(report_json(file, &subject, &tally), ERR_NONE);
	rewind(file);
	json_error_t error;
	json_t *json = json_loadf(file, 0, &error);
	assert_non_null(json);
	(void)fclose(file);
	const char *kind, *example;
	int sessions, errors, count, refused, rate;
	double p50, max;
	json_t *course;
	assert_int_equal(
	    json_unpack(json, "{s:s, s:i, s:i, s:i, s:{s:{s:i, s:f, s:f}}, s:{s:{s:i, s:s}}, s:o}", "profile",
	                &kind, "rate", &rate, "sessions", &sessions, "errors", &errors, "latency_us",
	                "session", "count", &count, "p50", &p50, "max", &max, "errors_by_kind", "refused",
	                "count", &refused, "example", &example, "course", &course),
	    0);
	assert_string_equal(kind, "poll");
	assert_int_equal(rate, 50);
	assert_int_equal(sessions, 201);
	assert_int_equal(count, 201);
	assert_int_equal(errors, 1);
	assert_int_equal(refused, 1);
	assert_string_equal(example, "PASS: -ERR \"<&>\\");
	assert_true(p50 > 755 && p50 < 770); /* 75 of the first piece and 25 of the third are not longer */
	assert_true(max > 76999 && max < 77001);
	assert_int_equal(json_array_size(course), 3);
	json_decref(json);
	tally_finish(&tally);
}

static void draw(const char *host, struct tally *tally, char *to, size_t size)
{
	struct report_subject subject = subject_of(host);
	FILE *file = fmemopen(to, size, "w");
	assert_non_null(file);
	assert_int_equal(plot_svg(file, &subject, tally), ERR_NONE);
	(void)fclose(file);
}

static unsigned count_of(const char *text, const char *part)
{
	unsigned count = 0;
	for (text = strstr(text, part); text; text = strstr(text + 1, part))
		count++;
	return count;
}

static void test_a_picture_has_gaps_and_no_odd_numbers(void **state)
{
	(void)state;
	static struct tally tally;
	static char svg[65536];
	make_run(&tally);
	draw("<a&\"b\x01>", &tally, svg, sizeof svg);
	assert_int_equal(count_of(svg, "<path"), 4);
	assert_null(strstr(svg, "nan"));
	assert_null(strstr(svg, "inf"));
	assert_non_null(strstr(svg, "&#60;a&#38;&#34;b?&#62;"));
	/* Latency: nothing in the second piece, so each of its lines begins twice. Throughput is 0 then, and
	 * drawn. */
	assert_int_equal(count_of(strstr(svg, "<path"), "M"), 3 * 2 + 1);
	tally_finish(&tally);
}

static void test_a_picture_of_nothing_is_a_picture(void **state)
{
	(void)state;
	static struct tally tally;
	static char svg[65536];
	draw("localhost", &tally, svg, sizeof svg);
	assert_null(strstr(svg, "nan"));
	assert_null(strstr(svg, "inf"));
	assert_non_null(strstr(svg, "</svg>"));
}

/* An hour and a half in tenths of a second: few points, but the one bad moment is there. */
static void test_a_long_run_keeps_its_worst_moment(void **state)
{
	(void)state;
	enum { ROWS = 54000 };
	static struct tally tally;
	static char svg[1 << 20];
	tally = (struct tally){.shown = METRIC_SESSION};
	for (unsigned i = 0; i < ROWS; i++) {
		tally.sums.sessions++;
		tally_latency(&tally, METRIC_SESSION, i == 12345 ? 900000000 : 1000000);
		assert_true(tally_row(&tally, (i + 1) / 10.0, 1, 0));
	}
	tally.seconds = ROWS / 10.0;
	draw("localhost", &tally, svg, sizeof svg);
	assert_true(strlen(svg) < 64 * 1024);
	assert_non_null(strstr(svg, ">1000</text>")); /* the axis goes up to 1000 ms */
	tally_finish(&tally);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_an_empty_histogram_says_zero),
	    cmocka_unit_test(test_a_value_is_known_to_one_in_a_hundred),
	    cmocka_unit_test(test_the_edges_of_buckets_are_known_as_well),
	    cmocka_unit_test(test_quantiles_are_those_of_the_sorted_values),
	    cmocka_unit_test(test_a_value_longer_than_the_longest_is_kept),
	    cmocka_unit_test(test_a_unique_id_that_comes_again_is_noticed),
	    cmocka_unit_test(test_the_gravest_error_decides_how_the_program_exits),
	    cmocka_unit_test(test_every_pair_of_errors_has_its_gravest),
	    cmocka_unit_test(test_rows_show_their_own_piece),
	    cmocka_unit_test(test_json_says_what_was_added_up),
	    cmocka_unit_test(test_a_picture_has_gaps_and_no_odd_numbers),
	    cmocka_unit_test(test_a_picture_of_nothing_is_a_picture),
	    cmocka_unit_test(test_a_long_run_keeps_its_worst_moment),
	};
	return cmocka_run_group_tests_name("bench_report", tests, NULL, NULL);
}
