// SPDX-License-Identifier: MIT
/* `hugenuma report FILE': any JSON, shown as text, CSV and HTML. */
#include "fuzz.h"

#include "control/report_view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[256] = "";
	json_t *report;

	fuzz_file(data, size);
	report = hn_report_load(fuzz_file_path(), err, sizeof(err));
	if (!report) {
		hn_must(err[0]);
		return 0;
	}
	hn_report_text(fuzz_sink(), report);
	hn_report_csv(fuzz_sink(), report);
	hn_report_html(fuzz_sink(), report);
	json_decref(report);
	return 0;
}
