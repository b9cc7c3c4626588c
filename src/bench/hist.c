/* SPDX-License-Identifier: MIT */
/* The histogram. Runs in restante-bench; trusts nothing and needs to. */
#include "bench/hist.h"

/* Values below two times the buckets of an octave have a bucket each; above, a bucket is as wide as the bits
 * that are shifted out. */
static unsigned bucket_of(uint64_t value)
{
	if (value >> HIST_VALUE_LOG2)
		return HIST_BUCKETS - 1;
	if (value < 1u << HIST_STEPS_LOG2)
		return (unsigned)value;
	unsigned octave = 63 - (unsigned)__builtin_clzll(value) - HIST_STEPS_LOG2;
	return (octave << HIST_STEPS_LOG2) + (unsigned)(value >> octave);
}

/* The highest value of a bucket. */
static uint64_t top_of(unsigned bucket)
{
	if (bucket < 2u << HIST_STEPS_LOG2)
		return bucket;
	unsigned octave = (bucket >> HIST_STEPS_LOG2) - 1;
	uint64_t step = bucket - (octave << HIST_STEPS_LOG2);
	return ((step + 1) << octave) - 1;
}

void hist_add(struct hist *hist, uint64_t value)
{
	if (!hist->count || value < hist->min)
		hist->min = value;
	if (!hist->count || value > hist->max)
		hist->max = value;
	hist->count++;
	hist->sum += (double)value;
	hist->buckets[bucket_of(value)]++;
}

uint64_t hist_quantile(const struct hist *hist, double quantile)
{
	if (!hist->count)
		return 0;
	uint64_t rank = (uint64_t)(quantile * (double)hist->count + 0.999999);
	uint64_t seen = 0;
	for (unsigned bucket = 0; bucket < HIST_BUCKETS - 1; bucket++) {
		seen += hist->buckets[bucket];
		if (seen && seen >= rank) {
			uint64_t top = top_of(bucket);
			return top < hist->max ? top : hist->max;
		}
	}
	return hist->max;
}

double hist_mean(const struct hist *hist)
{
	return hist->count ? hist->sum / (double)hist->count : 0;
}
