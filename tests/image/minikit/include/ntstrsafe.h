#include "minikit.h"
