<#
.SYNOPSIS
    Says how a switch on an LBFO team, or one with embedded teaming (SET), becomes one on a switch team of this product.

.DESCRIPTION
    Changes nothing: it runs collect.ps1 and names the command that prints the plan from the file. The plan has each step
    with the command to run, what is lost, who is cut off and when, and the way back of each step; or it says why this
    host cannot be converted, and what to do first. teamctl decides that, and not this script, because teamctl's plans
    are tested on a model of a host, and because the plan is best made and read before anybody touches the host.

.PARAMETER SwitchName
    The switch; needed if several have such a team.

.PARAMETER TeamName
    Name of the new switch team.

.PARAMETER Path
    The file; by default the name of the computer in the present folder. Keep it: the way back needs it.

.EXAMPLE
    .\convert.ps1 -SwitchName External

.NOTES
    Exit codes: 0 done, 1 failed.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [string] $SwitchName,
    [string] $TeamName = 'Uplinks',
    [string] $Path = "$env:COMPUTERNAME.json"
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

# A name in the quotation marks that a shell needs.
function Format-Name([string] $Name) {
    '"' + $Name + '"'
}

try {
    & (Join-Path $PSScriptRoot 'collect.ps1') -Path $Path
    if ($LASTEXITCODE -ne 0) { throw 'Nothing was collected.' }
    $choice = if ($SwitchName) { "--switch $(Format-Name $SwitchName) " }
    Write-Host 'Where teamctl is, this prints the plan:'
    Write-Host "    teamctl convert $choice--team $(Format-Name $TeamName) $(Format-Name (Split-Path -Leaf $Path))"
    exit 0
} catch {
    [Console]::Error.WriteLine("convert.ps1: $_")
    exit 1
}
