// report_style.h: the style sheet of a report.
#pragma once

namespace vitrine {

extern const char* const report_style;

}  // namespace vitrine
