/* test_locale.c - the library reads and writes numbers in an application whose locale has a decimal
 * comma. */
#include <locale.h>
#include <stdlib.h>

#include "check.h"
#include "rsr_louver.h"

/* Makes a German locale with localedef, because most machines only have C. */
static bool enter_german_locale(void) {
    char folder[] = "/tmp/rsr-locale-XXXXXX", command[256];
    if (mkdtemp(folder) == NULL)
        return false;
    snprintf(command, sizeof command,
             "localedef --no-archive -i de_DE -f UTF-8 %s/de_DE.UTF-8 >%s/log 2>&1", folder,
             folder);
    const bool is_made = system(command) == 0;
    setenv("LOCPATH", folder, 1);
    const bool is_german = is_made && setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) == 0 && is_german;
}

static double parsed_value(const char *text) {
    rsr_louver_threshold threshold = RSR_LOUVER_THRESHOLD_DEFAULT;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_louver_threshold_parse(text, &threshold, &err), RSR_OK);
    return threshold.value;
}

static void test_reading(void) {
    CHECK(parsed_value("value:-2.5") == -2.5);
    CHECK(parsed_value("budget:0.25,sinks=4") == 0.25);
    CHECK(parsed_value("mass:1.5e-3") == 1.5e-3);
    rsr_louver_threshold threshold;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_louver_threshold_parse("budget:0,25", &threshold, &err), RSR_ERR_ARGUMENT);
}

static void test_writing(void) {
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_error err = RSR_ERROR_INIT;
    rsr_louver *index = NULL;
    options.head_dim = 64;
    options.scale = -0.5f;
    CHECK_INT(rsr_louver_create(&options, &index, &err), RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "scale is -0.5;") != NULL);
}

int main(void) {
    test_reading();
    test_writing();
    if (!enter_german_locale()) {
        fprintf(stderr, "SKIPPED: there is no localedef, or no source of de_DE\n");
        return CHECK_EXIT();
    }
    CHECK(strtod("1,5", NULL) == 1.5);
    test_reading();
    test_writing();
    CHECK(strtod("1,5", NULL) == 1.5); /* the application's locale is in force again */
    return CHECK_EXIT();
}
